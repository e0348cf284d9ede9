/** The parts of Node's API that workerd brings (`nodejs_compat`, default since 2026-08-04) and that are used here. */

declare module "node:zlib" {
  interface ZstdOptions {
    /** Bytes by which the output grows. */
    readonly chunkSize?: number;
    /** More output than this is an error. */
    readonly maxOutputLength?: number;
  }
  export function zstdDecompressSync(input: Uint8Array, options?: ZstdOptions): Uint8Array;
  export function zstdCompressSync(input: Uint8Array): Uint8Array;
}

declare module "node:crypto" {
  interface Hash {
    update(bytes: Uint8Array): Hash;
    digest(encoding: "hex"): string;
  }
  export function createHash(algorithm: "sha256"): Hash;
}
