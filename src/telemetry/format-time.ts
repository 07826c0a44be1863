/** Times in texts. Source: RFC 3339; strftime with Envoy's additions (%f, %3f, %6f, %9f). */

let lastSecond = Number.NaN;
let lastText = "";

/** "2026-01-01T00:00:00.000Z". The second's text is kept: most lines of a log share theirs. */
export function isoTime(wallMs: number): string {
  const whole = Math.floor(wallMs);
  const second = Math.floor(whole / 1000);
  if (second !== lastSecond) {
    lastSecond = second;
    lastText = new Date(second * 1000).toISOString().slice(0, 20);
  }
  const ms = whole - second * 1000;
  return `${lastText}${ms < 10 ? "00" : ms < 100 ? "0" : ""}${ms}Z`;
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The value of a Date header. Source: RFC 9110 section 5.6.7. */
export function httpDate(wallMs: number): string {
  return new Date(wallMs).toUTCString();
}

const two = (value: number): string => (value < 10 ? `0${value}` : String(value));

const FIELDS: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getUTCFullYear()),
  y: (date) => two(date.getUTCFullYear() % 100),
  m: (date) => two(date.getUTCMonth() + 1),
  d: (date) => two(date.getUTCDate()),
  e: (date) => String(date.getUTCDate()).padStart(2, " "),
  H: (date) => two(date.getUTCHours()),
  I: (date) => two(date.getUTCHours() % 12 || 12),
  p: (date) => (date.getUTCHours() < 12 ? "AM" : "PM"),
  M: (date) => two(date.getUTCMinutes()),
  S: (date) => two(date.getUTCSeconds()),
  s: (date) => String(Math.floor(date.getTime() / 1000)),
  a: (date) => DAYS[date.getUTCDay()] as string,
  b: (date) => MONTHS[date.getUTCMonth()] as string,
  Z: () => "UTC",
  z: () => "+0000",
  F: (date) => date.toISOString().slice(0, 10),
  T: (date) => date.toISOString().slice(11, 19),
  f: (date) => `${String(date.getUTCMilliseconds()).padStart(3, "0")}000000`,
};

/** Compiles a strftime pattern; what it does not know stays as it is. UTC always, as Envoy's. */
export function compileTime(pattern: string): (wallMs: number) => string {
  const parts: (string | ((date: Date) => string))[] = [];
  for (const piece of pattern.split(/(%%|%E?[1-9]?[A-Za-z])/)) {
    const match = /^%E?([1-9]?)([A-Za-z])$/.exec(piece);
    const field = match ? FIELDS[match[2] as string] : undefined;
    if (piece === "%%") parts.push("%");
    else if (!match || !field) parts.push(piece);
    else if (match[1] !== "" && match[2] === "f") parts.push((date) => field(date).slice(0, Number(match[1])));
    else parts.push(field);
  }
  return (wallMs) => {
    const date = new Date(wallMs);
    return parts.map((part) => (typeof part === "string" ? part : part(date))).join("");
  };
}
