import { describe, expect, test } from "vitest";

import { routeOf } from "./routes";

const HOST = "http://gateway.example";
const object = (path: string, init?: RequestInit) => {
  const route = routeOf(new Request(HOST + path, init));
  if (route.kind !== "object") throw new Error("no object route");
  return route;
};
const bearer = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } });

describe("routeOf", () => {
  test("both routes give key and token", () => {
    for (const path of ["/d/ds/a%20b?token=t1", "/download?key=ds/a+b&token=t1", "/download?token=t1&key=ds%2Fa%20b"]) {
      const route = object(path);
      expect([route.key(), route.token()]).toEqual(["ds/a b", "t1"]);
    }
  });

  test("a token comes by header too, whatever the scheme's case", () => {
    expect(object("/d/x", bearer("t1")).token()).toBe("t1");
    expect(object("/d/x", { headers: { Authorization: "bEARER  t1" } }).token()).toBe("t1");
  });

  test("the same token twice is fine, two that differ are not", () => {
    expect(object("/d/x?token=t1", bearer("t1")).token()).toBe("t1");
    const differ = expect.objectContaining({ code: "bad_request" });
    expect(() => object("/d/x?token=t1", bearer("t2")).token()).toThrow(differ);
    expect(() => object("/d/x?token=t1&token=t2").token()).toThrow(differ);
  });

  test("a missing token is 401 on /d and 400 on /download", () => {
    expect(() => object("/d/x").token()).toThrow(expect.objectContaining({ code: "token_missing" }));
    expect(() => object("/d/x?token=").token()).toThrow(expect.objectContaining({ code: "token_missing" }));
    expect(() => object("/download?key=x").token()).toThrow(expect.objectContaining({ code: "bad_request" }));
  });

  test.each([
    "/download",
    "/download?key=",
    "/download?key=a&key=b",
    "/download?key=%ff",
    "/d/",
    "/d//x",
    "/d/a%2F..%2Fb",
  ])("%s has no good key", (path) => {
    expect(() => object(path).key()).toThrow(expect.objectContaining({ code: "bad_request" }));
  });

  test("a file is named by dataset, version and path, however they are written", () => {
    for (const path of ["/f/ds/v1/a%20b/c?token=t1", "/f/ds%2Fv1/a%20b%2Fc?token=t1"]) {
      const route = routeOf(new Request(HOST + path));
      if (route.kind !== "file") throw new Error("no file route");
      expect([route.file(), route.token()]).toEqual([{ dataset: "ds", version: "v1", path: "a b/c" }, "t1"]);
    }
  });

  test.each([
    "/f/",
    "/f/ds",
    "/f/ds/v1",
    "/f/ds/v1/",
    "/f/DS/v1/a",
    "/f/ds/-/a",
    "/f/ds/v1/a%2F..%2Fb",
    "/f/ds/v1/%ff",
  ])("%s names no file", (path) => {
    const route = routeOf(new Request(HOST + path));
    if (route.kind !== "file") throw new Error("no file route");
    expect(() => route.file()).toThrow(expect.objectContaining({ code: "bad_request" }));
  });

  test.each([
    ["POST", "/d/x", "GET, HEAD, OPTIONS"],
    ["POST", "/f/ds/v1/x", "GET, HEAD, OPTIONS"],
    ["PUT", "/download", "GET, HEAD, OPTIONS"],
    ["DELETE", "/healthz", "GET, HEAD"],
  ])("%s %s is not allowed", (method, path, allow) => {
    const refused = expect.objectContaining({ code: "method_not_allowed", headers: { Allow: allow } });
    expect(() => routeOf(new Request(HOST + path, { method }))).toThrow(refused);
  });

  test.each(["/", "/d", "/downloads", "/cdn-cgi/x", "/healthz/"])("%s is not found", (path) => {
    expect(() => routeOf(new Request(HOST + path))).toThrow(expect.objectContaining({ code: "not_found" }));
  });
});
