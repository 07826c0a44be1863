/** HPACK's Huffman code: decoding, by a table that eats four bits a step. Source: RFC 7541, section 5.2 and appendix B. */

/** Bits of each symbol's code; the last is EOS. The code is canonical, so lengths are all there is to know. */
const CODE_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10,
  12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
  7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22,
  23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22,
  23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
  24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS = 256;
const EMITS = 1 << 16;
const FAILS = 1 << 17;
const STEPS = 16;

/** What four bits do to a state: the next state in the low byte, a symbol above it, and whether it is emitted or the code fails. */
const STEP_TABLE = buildSteps();
/** Whether a string may end in a state: only within at most seven one-bits of padding. */
const ENDS_WELL = buildEnds();

/** Inner nodes of the code's tree, two children each: an inner node's number, or -1 - symbol. */
function buildTree(): Int16Array {
  const order = CODE_BITS.map((_, symbol) => symbol).sort((a, b) => (CODE_BITS[a] as number) - (CODE_BITS[b] as number) || a - b);
  const children = new Int16Array(512);
  let nodes = 1;
  let code = 0;
  let bitsBefore = 0;
  for (const symbol of order) {
    const bits = CODE_BITS[symbol] as number;
    code = code * 2 ** (bits - bitsBefore);
    bitsBefore = bits;
    let node = 0;
    for (let bit = bits - 1; bit > 0; bit--) {
      const at = node * 2 + ((code >>> bit) & 1);
      if (children[at] === 0) children[at] = nodes++;
      node = children[at] as number;
    }
    children[node * 2 + (code & 1)] = -1 - symbol;
    code += 1;
  }
  return children;
}

function buildSteps(): Int32Array {
  const children = buildTree();
  const steps = new Int32Array(256 * STEPS);
  for (let state = 0; state < 256; state++) {
    for (let nibble = 0; nibble < STEPS; nibble++) {
      let node = state;
      let flags = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + ((nibble >> bit) & 1)] as number;
        if (child >= 0) {
          node = child;
          continue;
        }
        const symbol = -1 - child;
        flags |= symbol === EOS ? FAILS : EMITS | (symbol << 8);
        node = 0;
      }
      steps[state * STEPS + nibble] = node | flags;
    }
  }
  return steps;
}

function buildEnds(): Uint8Array {
  const children = buildTree();
  const ends = new Uint8Array(256);
  let node = 0;
  for (let ones = 0; ones <= 7; ones++) {
    ends[node] = 1;
    node = children[node * 2 + 1] as number;
    if (node < 0) break;
  }
  return ends;
}

/** How many bytes `length` coded bytes can become. */
export function huffmanBytesMax(length: number): number {
  // The shortest code has five bits.
  return Math.floor((length * 8) / 5);
}

/** Decodes bytes `start` to `end` of `buffer` into `out` (see huffmanBytesMax) and gives their number; -1 when the code or its padding is wrong. */
export function decodeHuffman(buffer: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let state = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = buffer[at] as number;
    let step = STEP_TABLE[state * STEPS + (byte >> 4)] as number;
    if (step & EMITS) out[length++] = step >> 8;
    if (step & FAILS) return -1;
    step = STEP_TABLE[(step & 0xff) * STEPS + (byte & 15)] as number;
    if (step & EMITS) out[length++] = step >> 8;
    if (step & FAILS) return -1;
    state = step & 0xff;
  }
  return ENDS_WELL[state] === 1 ? length : -1;
}
