// examples.mjs <page.md> <folder> [<text>=<other>…]: each example in TypeScript of the page
// becomes a program in the folder, and what the page says that it prints a file beside it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [page, folder, ...replacements] = process.argv.slice(2);
const examples = [...readFileSync(page, 'utf8').matchAll(/^```ts\n(.*?)^```\n\n```text\n(.*?)^```$/gms)];
if (examples.length === 0) throw new Error(`${page} has no examples`);
for (const [i, [, code, printed]] of examples.entries()) {
  const program = replacements.map((text) => text.split('=')).reduce((text, [from, to]) => text.replaceAll(from, to), code);
  writeFileSync(join(folder, `example-${i + 1}.ts`), program);
  writeFileSync(join(folder, `example-${i + 1}.txt`), printed);
}
