/** The target of `/f/{dataset}/{version}/{path}`. */

import { filePathFromPath } from "../key";
import { Problem } from "../problem";
import { isDatasetName, isVersionName } from "./releases";

/** A file that is asked for; `version` may be `latest`. */
export interface AskedFile {
  readonly dataset: string;
  readonly version: string;
  readonly path: string;
}

/** @param encoded what follows `/f/`, as it was sent. @throws Problem `bad_request` */
export function fileAskedFor(encoded: string): AskedFile {
  const [dataset = "", version = "", ...path] = filePathFromPath(encoded).split("/");
  if (path.length === 0 || !isDatasetName(dataset) || !isVersionName(version)) {
    throw new Problem("bad_request", "A file is at /f/{dataset}/{version}/{path}.");
  }
  return { dataset, version, path: path.join("/") };
}

/** What stands for the file in events: below its release, where no stored object has such a key. */
export function logicalKey({ dataset, version, path }: AskedFile): string {
  return `${dataset}/releases/${version}/files/${path}`;
}
