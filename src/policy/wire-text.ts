/** Texts of config as they look on the wire: header values and paths are latin1 texts of bytes, config is Unicode. */

/** The UTF-8 bytes of `text`, one character each: what a header with that text is here. ASCII stays as it is. */
export function toWireText(text: string): string {
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  let wire = "";
  for (const byte of new TextEncoder().encode(text)) wire += String.fromCharCode(byte);
  return wire;
}
