/** Text of one-byte characters in and out of buffers, by the methods of Buffer that skip the choice of an encoding; its types leave them out. */

interface Latin1Buffer {
  latin1Slice(start: number, end: number): string;
  latin1Write(text: string, at: number, length: number): number;
}

/** Bytes `start` to `end` as text. */
export function readLatin1(buffer: Buffer, start: number, end: number): string {
  return (buffer as unknown as Latin1Buffer).latin1Slice(start, end);
}

/** Writes text at a place; gives the number of bytes. */
export function writeLatin1(buffer: Buffer, text: string, at: number): number {
  return (buffer as unknown as Latin1Buffer).latin1Write(text, at, text.length);
}
