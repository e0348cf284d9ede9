/** HTTP dates, RFC 9110 section 5.6.7: all three forms are read, IMF-fixdate is written. */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MONTH = `(${MONTHS.join("|")})`;
const TIME = "(\\d{2}):(\\d{2}):(\\d{2})";

// Sun, 06 Nov 1994 08:49:37 GMT
const IMF_FIXDATE = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\\d{2}) ${MONTH} (\\d{4}) ${TIME} GMT$`);
// Sunday, 06-Nov-94 08:49:37 GMT
const RFC_850 = new RegExp(
  `^(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday), (\\d{2})-${MONTH}-(\\d{2}) ${TIME} GMT$`,
);
// Sun Nov  6 08:49:37 1994
const ASCTIME = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ${MONTH} ([ \\d]\\d) ${TIME} (\\d{4})$`);

/** Two-digit years that would lie further ahead than this mean the past century (RFC 9110 section 5.6.7). */
const MAX_YEARS_AHEAD = 50;

/** Milliseconds since the epoch, or null where the field is absent or no HTTP date (such a field is ignored). */
export function parseHttpDate(field: string | null, nowMs: number = Date.now()): number | null {
  if (field === null) return null;
  const value = field.trim();
  const imf = IMF_FIXDATE.exec(value);
  if (imf !== null) return utc(imf[3], imf[2], imf[1], imf[4], imf[5], imf[6]);
  const asctime = ASCTIME.exec(value);
  if (asctime !== null) return utc(asctime[6], asctime[1], asctime[2], asctime[3], asctime[4], asctime[5]);
  const rfc850 = RFC_850.exec(value);
  if (rfc850 !== null) {
    const thisYear = new Date(nowMs).getUTCFullYear();
    let year = Math.floor(thisYear / 100) * 100 + Number(rfc850[3]);
    if (year > thisYear + MAX_YEARS_AHEAD) year -= 100;
    return utc(String(year), rfc850[2], rfc850[1], rfc850[4], rfc850[5], rfc850[6]);
  }
  return null;
}

export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

/** HTTP dates hold whole seconds: a finer time would never compare equal to what a client sends back. */
export function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

type Field = string | undefined;

function utc(year: Field, month: Field, day: Field, hour: Field, minute: Field, second: Field): number | null {
  const [d, h, m, s] = [Number(day), Number(hour), Number(minute), Number(second)];
  const monthIndex = MONTHS.indexOf(month ?? "");
  const ms = Date.UTC(Number(year), monthIndex, d, h, m, s);
  const date = new Date(ms);
  // Date.UTC carries 31 February over into March: such a date is no date.
  const isReal = date.getUTCMonth() === monthIndex && date.getUTCDate() === d && h < 24 && m < 60 && s <= 60;
  return isReal ? ms : null;
}
