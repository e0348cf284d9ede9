"""pandas, PyArrow and DuckDB read files of a release by URL, and samples come as an iterable of dicts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from running_stack import RunningStack

import lading

ROWS = 50_000
ROW_GROUP = 5_000


@pytest.fixture(scope="module", autouse=True)
def table(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """A dataset `frames` with one table as Parquet, split in two parts, and as CSV."""
    from flows.release import release

    made = pa.table({"n": list(range(ROWS)), "name": [f"row {n}" for n in range(ROWS)]})
    folder = tmp_path_factory.mktemp("frames")
    source = folder / "source"
    (source / "parts").mkdir(parents=True)
    pq.write_table(made, source / "all.parquet", row_group_size=ROW_GROUP)
    for part in range(2):
        pq.write_table(made.slice(part * ROWS // 2, ROWS // 2), source / f"parts/{part}.parquet")
    made.slice(0, 1000).to_pandas().to_csv(source / "some.csv", index=False)
    (folder / "labels.csv").write_text("path,split\nparts/0.parquet,train\nparts/1.parquet,test\n")
    release(source=str(source), dataset="frames", version="v1", labels=str(folder / "labels.csv"), smoke=False)
    return made


def test_pandas_reads_parquet_and_csv_by_url(table: pa.Table) -> None:
    expected = table.to_pandas()
    pd.testing.assert_frame_equal(pd.read_parquet("lading://frames@v1/all.parquet"), expected)
    columns = pd.read_parquet("lading://frames/all.parquet", columns=["n"], filters=[("n", "<", 10)])
    assert columns["n"].tolist() == list(range(10))
    pd.testing.assert_frame_equal(pd.read_csv("lading://frames@v1/some.csv"), expected.head(1000), check_dtype=False)


def test_pandas_reads_an_open_file(table: pa.Table) -> None:
    with lading.open("frames@v1/all.parquet") as file:
        pd.testing.assert_frame_equal(pd.read_parquet(file), table.to_pandas())


def test_pyarrow_reads_a_file_and_a_folder_as_one_dataset(table: pa.Table) -> None:
    fs = fsspec.filesystem("lading")
    assert pq.read_table("frames@v1/all.parquet", filesystem=fs) == table
    parts = pads.dataset("frames@v1/parts", format="parquet", filesystem=fs)
    assert parts.count_rows() == ROWS
    assert parts.to_table(filter=pads.field("n") == ROWS - 1).to_pylist() == [
        {"n": ROWS - 1, "name": f"row {ROWS - 1}"}
    ]


def test_duckdb_reads_parquet_by_url(table: pa.Table) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.register_filesystem(fsspec.filesystem("lading"))
        query = "SELECT sum(n) FROM 'lading://frames@v1/parts/*.parquet'"
        assert connection.execute(query).fetchone() == (sum(range(ROWS)),)


def test_files_of_a_split_are_found_by_their_label(table: pa.Table) -> None:
    with lading.files("frames@v1") as files:
        frames = [pd.read_parquet(files.open(info)) for info in files.where("split = 'test'")]
    assert [len(frame) for frame in frames] == [ROWS // 2]
    assert frames[0]["n"].iloc[0] == ROWS // 2


def test_samples_are_an_iterable_of_dicts_that_a_dataframe_takes() -> None:
    from lading.torch import SampleDataset

    samples = SampleDataset("frames@v1", include=("parts",))
    frame = pd.DataFrame({"key": sample["__key__"], "size": len(sample["parquet"])} for sample in samples)
    assert frame["key"].tolist() == ["parts/0", "parts/1"]
    assert (frame["size"] > 10_000).all()


DOCUMENTED = """
import pandas as pd
import pyarrow.dataset as ds
import fsspec

frame = pd.read_parquet("lading://frames/all.parquet")
print(len(frame), ds.dataset("frames/parts", filesystem=fsspec.filesystem("lading")).count_rows())
"""


def test_a_fresh_process_needs_no_import_of_lading(stack: RunningStack, tmp_path: Path) -> None:
    """The file system is found by its entry point."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DOCUMENTED)],
        env={**stack.environment, "LADING_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == f"{ROWS} {ROWS}\n", done.stderr
