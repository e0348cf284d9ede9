/** Methods, keys and routes. */

import { refusedTarget } from "./case";
import type { Rule } from "./case";

export const TARGETS: readonly Rule[] = [
  {
    rule: "405 with Allow, before anything else is judged",
    source: "RFC 9110 §15.5.6",
    cases: ["POST", "PUT", "DELETE", "PATCH"].map((method) => ({
      name: method,
      method,
      target: "/d/%ff",
      expect: { status: 405, code: "method_not_allowed", headers: { Allow: "GET, HEAD, OPTIONS" } },
    })),
  },
  {
    rule: "keys that are no clean path are refused",
    source: "design §6, RFC 3986 §2.1, RFC 3629 §3",
    cases: [
      refusedTarget("an escape that is cut off", "/d/conf/%4?token={token}", 400, "bad_request"),
      refusedTarget("an escape that is none", "/d/conf/%zz?token={token}", 400, "bad_request"),
      refusedTarget("a byte that is no UTF-8", "/d/conf/%ff?token={token}", 400, "bad_request"),
      refusedTarget("an overlong form", "/d/conf/%c0%af?token={token}", 400, "bad_request"),
      refusedTarget("half a surrogate pair", "/d/conf/%ed%a0%80?token={token}", 400, "bad_request"),
      refusedTarget("NUL", "/d/conf/a%00b?token={token}", 400, "bad_request"),
      refusedTarget("a line feed", "/d/conf/a%0ab?token={token}", 400, "bad_request"),
      refusedTarget("two slashes", "/d/conf//text.txt?token={token}", 400, "bad_request"),
      refusedTarget("two slashes, one escaped", "/d/conf/%2ftext.txt?token={token}", 400, "bad_request"),
      refusedTarget("a slash at the end", "/d/conf/?token={token}", 400, "bad_request"),
      refusedTarget("an empty key", "/d/?token={token}", 400, "bad_request"),
      refusedTarget("too long a key", `/d/conf/${"a".repeat(1024)}?token={token}`, 400, "bad_request"),
      // Whoever resolves the dots before the gateway sees them asks for a key outside of the scope.
      refusedTarget("dot segments", "/d/conf/../other/x?token={token}", [400, 403]),
      refusedTarget("dot segments, escaped", "/d/conf/%2e%2e/other/x?token={token}", [400, 403]),
      refusedTarget("dot segments, all escaped", "/d/conf%2f..%2fother%2fx?token={token}", 400, "bad_request"),
      refusedTarget(
        "dot segments in a parameter",
        "/download?key=conf/../conf/text.txt&token={token}",
        400,
        "bad_request",
      ),
      refusedTarget("no key", "/download?token={token}", 400, "bad_request"),
      refusedTarget("two keys", "/download?key=a&key=b&token={token}", 400, "bad_request"),
    ],
  },
  {
    rule: "keys are compared decoded, however they are written",
    source: "RFC 3986 §6.2.2",
    cases: [
      refusedTarget("escaped letters", "/d/%63onf%2Ftext.txt?token={token}", 200),
      refusedTarget("a plus in a path is a plus", "/d/conf/caf%C3%A9%201+2%20100%25.txt?token={token}", 200),
      refusedTarget(
        "a plus in a parameter is a space",
        "/download?key=conf/caf%c3%a9+1%2B2+100%25.txt&token={token}",
        200,
      ),
    ],
  },
  {
    rule: "unknown routes",
    source: "RFC 9110 §15.5.5",
    cases: [
      refusedTarget("the root", "/", 404, "not_found"),
      refusedTarget("a neighbour of a route", "/downloads?key=conf/text.txt&token={token}", 404, "not_found"),
      refusedTarget("another case", "/D/conf/text.txt?token={token}", 404, "not_found"),
    ],
  },
  {
    rule: "health check",
    source: "design §6",
    cases: [
      refusedTarget("GET", "/healthz", 200),
      { name: "HEAD", method: "HEAD", target: "/healthz", expect: { status: 200, body: "nothing" } },
    ],
  },
];
