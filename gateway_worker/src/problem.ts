/** Errors as RFC 9457 problem details. A refusal is thrown as a `Problem` and becomes a response in one place. */

const PROBLEMS = {
  bad_request: { status: 400, title: "The request is malformed" },
  token_missing: { status: 401, title: "A token is needed" },
  token_invalid: { status: 403, title: "The token is not valid" },
  token_expired: { status: 403, title: "The token has expired" },
  token_revoked: { status: 403, title: "The token was revoked" },
  key_not_allowed: { status: 403, title: "The token does not cover this key" },
  ip_not_allowed: { status: 403, title: "The token is bound to another address" },
  not_found: { status: 404, title: "No such object" },
  not_acceptable: { status: 406, title: "No acceptable form of the file" },
  method_not_allowed: { status: 405, title: "Method not allowed" },
  precondition_failed: { status: 412, title: "A precondition does not hold" },
  range_not_satisfiable: { status: 416, title: "The range lies outside the object" },
  rate_limited: { status: 429, title: "Too many requests" },
  quota_exceeded: { status: 429, title: "The quota is used up" },
  internal_error: { status: 500, title: "The gateway failed" },
  misconfigured: { status: 500, title: "The gateway is misconfigured" },
  origin_error: { status: 502, title: "The object store failed" },
  limiter_unavailable: { status: 503, title: "Limits cannot be checked" },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;

export class Problem extends Error {
  readonly code: ProblemCode;
  /** Header fields that this error needs beside the common ones, such as `Allow`. */
  readonly headers: Readonly<Record<string, string>>;

  /** `detail` is shown to the client: it must not hold a token, a secret or anything internal of the origin. */
  constructor(code: ProblemCode, detail: string, headers: Readonly<Record<string, string>> = {}) {
    super(detail);
    this.name = "Problem";
    this.code = code;
    this.headers = headers;
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  /** The JSON body, with a newline at its end for readers on a terminal. */
  body(requestId: string): string {
    const { status, title } = PROBLEMS[this.code];
    return `${JSON.stringify({
      type: "about:blank",
      title,
      status,
      detail: this.message,
      code: this.code,
      request_id: requestId,
    })}\n`;
  }
}
