/** IP addresses and ranges as text. Source: RFC 4291 2.2, RFC 4632. */

/** Whether the text is an IPv4 address of four decimal parts without leading zeros. */
export function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** Whether the text is an IPv6 address, without a zone. */
export function isIpv6(text: string): boolean {
  if (text.length > 45 || !text.includes(":")) return false;
  const halves = text.split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [i, half] of halves.entries()) {
    if (half === "") {
      if (halves.length === 1) return false;
      continue;
    }
    const parts = half.split(":");
    const last = parts[parts.length - 1] ?? "";
    const embedded = i === halves.length - 1 && last.includes(".");
    if (embedded && !isIpv4(last)) return false;
    const plain = embedded ? parts.slice(0, -1) : parts;
    if (!plain.every((part) => /^[0-9a-fA-F]{1,4}$/.test(part))) return false;
    groups += plain.length + (embedded ? 2 : 0);
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

/** Whether the text is an IP address of either kind. */
export function isIpAddress(text: string): boolean {
  return isIpv4(text) || isIpv6(text);
}

/** The parts of "10.0.0.0/8"; `whole` when the range is one address. Undefined for anything else. */
export function parseCidr(text: string): { readonly address: string; readonly bits: number; readonly whole: boolean } | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const [, address = "", digits = ""] = match;
  const bits = Number(digits);
  const widest = isIpv4(address) ? 32 : isIpv6(address) ? 128 : 0;
  if (widest === 0 || bits > widest) return undefined;
  return { address, bits, whole: bits === widest };
}
