# The gateway on plain workerd: S3 origin, Durable Objects and slices on disk. `npm run build:selfhost` makes the script.
#
#   workerd serve selfhost/config.capnp --directory-path state=DIR --directory-path slices=DIR --socket-addr http=HOST:PORT
#
# Settings come from the environment, under the names that the README lists; one that is not set has its default.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "gateway", worker = .gateway),
    # Files of both directories are written by workerd alone. `state` must survive; `slices` may be emptied at any time.
    (name = "state", disk = (writable = true, allowDotfiles = false)),
    (name = "slices", disk = (writable = true, allowDotfiles = false)),
    # A store often has a private address. No request of a client decides what is fetched, only S3_ENDPOINT does.
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "gateway")],
);

const gateway :Workerd.Worker = (
  modules = [(name = "gateway.js", esModule = embed "../dist/selfhost/index.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [
    # The keys name the directories of the objects' data: never change them.
    (className = "UserLedger", uniqueKey = "lading-user-ledgers", enableSql = true),
    (className = "DenylistObject", uniqueKey = "lading-denylist", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "state"),
  bindings = [
    (name = "USER_LEDGERS", durableObjectNamespace = "UserLedger"),
    (name = "DENYLIST", durableObjectNamespace = "DenylistObject"),
    (name = "SLICES", service = "slices"),
    (name = "SLICE_CACHE", fromEnvironment = "SLICE_CACHE"),
    (name = "ORIGIN", text = "s3"),
    (name = "S3_ENDPOINT", fromEnvironment = "S3_ENDPOINT"),
    (name = "S3_BUCKET", fromEnvironment = "S3_BUCKET"),
    (name = "S3_REGION", fromEnvironment = "S3_REGION"),
    (name = "S3_ACCESS_KEY_ID", fromEnvironment = "S3_ACCESS_KEY_ID"),
    (name = "S3_SECRET_ACCESS_KEY", fromEnvironment = "S3_SECRET_ACCESS_KEY"),
    (name = "ORIGIN_ANSWER_TIMEOUT_S", fromEnvironment = "ORIGIN_ANSWER_TIMEOUT_S"),
    (name = "FILE_DECODE_MAX_BYTES", fromEnvironment = "FILE_DECODE_MAX_BYTES"),
    (name = "ORIGIN_STALL_TIMEOUT_S", fromEnvironment = "ORIGIN_STALL_TIMEOUT_S"),
    (name = "TOKEN_KEYRING", fromEnvironment = "TOKEN_KEYRING"),
    (name = "TOKEN_ISSUER", fromEnvironment = "TOKEN_ISSUER"),
    (name = "TOKEN_AUDIENCE", fromEnvironment = "TOKEN_AUDIENCE"),
    (name = "TOKEN_MAX_LIFETIME_S", fromEnvironment = "TOKEN_MAX_LIFETIME_S"),
    (name = "LIMIT_USER_REQUESTS_PER_MINUTE", fromEnvironment = "LIMIT_USER_REQUESTS_PER_MINUTE"),
    (name = "LIMIT_TOKEN_REQUESTS_PER_MINUTE", fromEnvironment = "LIMIT_TOKEN_REQUESTS_PER_MINUTE"),
    (name = "LIMIT_USER_BYTES_PER_DAY", fromEnvironment = "LIMIT_USER_BYTES_PER_DAY"),
    (name = "LIMITER_FAIL", fromEnvironment = "LIMITER_FAIL"),
    (name = "LOG_IP", fromEnvironment = "LOG_IP"),
    (name = "LOG_IP_HASH_KEY", fromEnvironment = "LOG_IP_HASH_KEY"),
    (name = "CLIENT_IP_SOURCE", fromEnvironment = "CLIENT_IP_SOURCE"),
  ],
);
