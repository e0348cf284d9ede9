"""The steps of a release as Prefect tasks: thin wrappers around the functions of the other modules.

They are all here so that the functions can be used, and tested, without importing Prefect, which takes two seconds.
Nothing is cached by Prefect: the steps know themselves what is done already. A retry is set where it is safe.
"""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.build_index import build_index
from tasks.garbage import collect_all
from tasks.hashing import hash_files
from tasks.pack import pack_shard
from tasks.parent import fetch_parent_release
from tasks.patch import make_release_patches
from tasks.plan import plan
from tasks.publish import promote_release, publish_release
from tasks.scan import scan
from tasks.smoke import smoke_release
from tasks.upload import upload_shard

scan_task = task(name="scan", cache_policy=NO_CACHE)(scan)
hash_task = task(name="hash", cache_policy=NO_CACHE)(hash_files)
parent_task = task(name="parent", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE)(fetch_parent_release)
plan_task = task(name="plan", cache_policy=NO_CACHE)(plan)
pack_task = task(name="pack", task_run_name="pack-{shard_no}", cache_policy=NO_CACHE)(pack_shard)
# The key names the content, and the file goes only after the store has it.
upload_task = task(name="upload", retries=3, retry_delay_seconds=[1, 5, 20], cache_policy=NO_CACHE)(upload_shard)
index_task = task(name="index", cache_policy=NO_CACHE)(build_index)
patch_task = task(name="patch", cache_policy=NO_CACHE)(make_release_patches)
publish_task = task(name="publish", cache_policy=NO_CACHE)(publish_release)
smoke_task = task(name="smoke", cache_policy=NO_CACHE)(smoke_release)
promote_task = task(name="promote", cache_policy=NO_CACHE)(promote_release)
# Not retried: what stopped it is a running release, and the next run goes on where it stopped.
collect_task = task(name="collect-garbage", cache_policy=NO_CACHE)(collect_all)
