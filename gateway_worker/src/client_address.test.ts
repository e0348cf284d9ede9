import { expect, test } from "vitest";

import { clientAddress } from "./client_address";

const request = (cf: object, headers: Record<string, string> = {}) =>
  Object.assign(new Request("http://g/", { headers }), { cf }) as unknown as Request;

test("the address comes from the configured source alone", () => {
  const all = request({ clientIp: "192.0.2.1:5000" }, { "CF-Connecting-IP": "192.0.2.2", "X-Real-IP": "192.0.2.3" });
  expect(clientAddress(all, "socket")).toBe("192.0.2.1");
  expect(clientAddress(all, "cf-connecting-ip")).toBe("192.0.2.2");
  expect(clientAddress(all, "x-real-ip")).toBe("192.0.2.3");
  expect(clientAddress(all, "none")).toBeNull();
});

test("a peer's port is taken off, in both families", () => {
  expect(clientAddress(request({ clientIp: "[2001:db8::1]:80" }), "socket")).toBe("2001:db8::1");
  expect(clientAddress(request({ clientIp: "unix:/tmp/x" }), "socket")).toBeNull();
  expect(clientAddress(request({}), "socket")).toBeNull();
});
