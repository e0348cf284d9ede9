import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["src/**/*.test.ts"], environment: "node" } },
      {
        test: {
          name: "integration",
          include: ["test/**/*.test.ts", "conformance/**/*.test.ts"],
          environment: "node",
          // The files of this project start gateways of their own, and wait for much of their time.
          maxWorkers: 3,
          hookTimeout: 60_000,
          testTimeout: 30_000,
        },
      },
    ],
  },
});
