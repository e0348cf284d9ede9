import { describe, expect, test } from "vitest";

import { blockHolds, loggedPrefix, parseAddress, parseBlock } from "./address";

const holds = (block: string, address: string) => {
  const [b, a] = [parseBlock(block), parseAddress(address)];
  return b !== null && a !== null && blockHolds(b, a);
};

describe("blockHolds", () => {
  test.each([
    ["192.0.2.7", "192.0.2.7", true],
    ["192.0.2.7", "192.0.2.8", false],
    ["192.0.2.0/24", "192.0.2.255", true],
    ["192.0.2.0/24", "192.0.3.0", false],
    ["192.0.2.77/24", "192.0.2.1", true],
    ["0.0.0.0/0", "203.0.113.9", true],
    ["0.0.0.0/0", "2001:db8::1", false],
    ["2001:db8::/32", "2001:db8:ffff::1", true],
    ["2001:db8::/32", "2001:db9::1", false],
    ["2001:db8::/127", "2001:db8::1", true],
    ["2001:db8::/127", "2001:db8::2", false],
    ["2001:DB8:0:0::1", "2001:db8::1", true],
    ["192.0.2.0/24", "::ffff:192.0.2.9", true],
    ["::ffff:192.0.2.0/120", "192.0.2.9", true],
    ["::/0", "2001:db8::1", true],
  ])("%s, %s: %s", (block, address, expected) => {
    expect(holds(block, address)).toBe(expected);
  });
});

test.each([
  "",
  "x",
  "1.2.3",
  "1.2.3.256",
  "01.2.3.4",
  "1.2.3.4.5",
  ":::",
  "1::2::3",
  "12345::",
  "1:2:3:4:5:6:7",
  "1.2.3.4::",
])("'%s' is no address", (text) => {
  expect(parseAddress(text)).toBeNull();
});

test.each(["1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/8/8", "::/129", "::ffff:1.2.3.4/64"])(
  "'%s' is no block",
  (text) => {
    expect(parseBlock(text)).toBeNull();
  },
);

test.each([
  ["192.0.2.77", "192.0.2.0/24"],
  ["2001:db8:1:2:3::4", "2001:db8:1::/48"],
  ["::1", "0:0:0::/48"],
])("loggedPrefix of %s is %s", (text, prefix) => {
  const address = parseAddress(text);
  expect(address && loggedPrefix(address)).toBe(prefix);
});
