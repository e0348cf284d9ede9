/** A gateway on plain workerd, with the committed configuration. */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { freePort, newIssuer, PACKAGE_DIR, untilReady } from "./stack";
import { send } from "./target";
import type { Target } from "./target";

const WORKERD: string = createRequire(join(PACKAGE_DIR, "node_modules/workerd/package.json"))("workerd").default;

export interface SelfHosted extends Target {
  /** Folder of the cached slices. */
  readonly slices: string;
  output(): string;
  stop(): Promise<void>;
}

/** Once for all gateways of a test file. */
let built: Promise<unknown> | undefined;

/** `settings` are environment variables, as an operator sets them: those of the S3 origin at least. */
export async function startSelfHosted(settings: Record<string, string>): Promise<SelfHosted> {
  await (built ??= promisify(execFile)("npm", ["run", "--silent", "build:selfhost"], { cwd: PACKAGE_DIR }));
  const home = await mkdtemp(join(tmpdir(), "lading-selfhost-"));
  const [state, slices] = [join(home, "state"), join(home, "slices")];
  await mkdir(state);
  await mkdir(slices);
  const { keyring, token } = await newIssuer();
  const port = await freePort();
  const child = spawn(
    WORKERD,
    [
      ...["serve", join(PACKAGE_DIR, "selfhost/config.capnp"), "--socket-addr", `http=127.0.0.1:${port}`],
      ...["--directory-path", `state=${state}`, "--directory-path", `slices=${slices}`],
    ],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { TOKEN_KEYRING: keyring, CLIENT_IP_SOURCE: "socket", ...settings },
    },
  );
  let output = "";
  const collect = (text: string) => (output += text);
  child.stdout.setEncoding("utf8").on("data", collect);
  child.stderr.setEncoding("utf8").on("data", collect);

  const gateway: SelfHosted = {
    url: `http://127.0.0.1:${port}`,
    slices,
    send: (method, path, headers = {}) => send(port, method, path, headers),
    token,
    output: () => output,
    stop: async () => {
      const ended = child.exitCode === null ? once(child, "exit") : null;
      child.kill("SIGTERM");
      await ended;
      await rm(home, { recursive: true, force: true });
    },
  };
  try {
    await untilReady(gateway, child);
  } catch (error) {
    await gateway.stop();
    throw error;
  }
  return gateway;
}
