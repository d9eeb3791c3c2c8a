// The responses, as weirdgen/report/page_data.py packs them.

const CODES = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function unpack(text) {
  const packed = new Blob([fromBase64(text)]).stream();
  const unzipped = packed.pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(unzipped).arrayBuffer();
  const decode = (bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(decode(new Uint8Array(buffer, 4, size)));
  const n = header.n;
  let at = 4 + size;
  const take = (width) => new CODES[width](buffer.slice(at, (at += n * width)));
  const starts = startsOf(take(4));
  const columns = header.columns.map((column) => ({
    ...column,
    labels: (column.labels ?? column.keys).map(visible),
    codes: take(column.width),
  }));
  const responses = decode(new Uint8Array(buffer, at));
  const judgments = header.judgments
    .filter((judgment) => judgment.metric !== undefined)
    .map((judgment) => ({ ...judgment, columns: judgment.columns.map((i) => columns[i]) }));
  const named = columns.filter((column) => column.role !== "judgment");
  return {
    n,
    judgments,
    columns: new Map(named.map((column) => [column.name, column])),
    text: (row) => responses.slice(starts[row], starts[row + 1]),
    ...lowered(responses, starts),
  };
}

function startsOf(lengths) {
  const starts = new Uint32Array(lengths.length + 1);
  for (let row = 0; row < lengths.length; row++) starts[row + 1] = starts[row] + lengths[row];
  return starts;
}

// All responses in lower case as one string, and where each begins in it.
function lowered(responses, starts) {
  const lower = responses.toLowerCase();
  if (lower.length === responses.length) return { lower, lowerStarts: starts };
  const parts = [];
  for (let row = 0; row + 1 < starts.length; row++) {
    parts.push(responses.slice(starts[row], starts[row + 1]).toLowerCase());
  }
  return { lower: parts.join(""), lowerStarts: startsOf(parts.map((part) => part.length)) };
}

function label(data, name, row) {
  const column = data.columns.get(name);
  return column ? column.labels[column.codes[row]] : "";
}

function isNull(column, row) {
  return column.keys[column.codes[row]] === "~";
}
