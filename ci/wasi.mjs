// Runs a test binary of a WebAssembly target; what cargo calls it with. Usage: node ci/wasi.mjs BINARY ARGUMENT...
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const [binary, ...rest] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: [binary, ...rest], env: process.env, preopens: { '.': '.' } });
const module = await WebAssembly.compile(await readFile(binary));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
