// @ts-check
import { dirname, relative, resolve, sep } from 'node:path';

/**
 * The lint rule behind the table of what may import what. Its options: `root`, and
 * `zones`, each with a `target` folder, the paths it `allow`s or those it `deny`s
 * (all relative to the root), and a `message`. Packages are nobody's business here.
 *
 * @type {import('eslint').Rule.RuleModule}
 */
export const importDirection = {
  meta: { type: 'problem', schema: [{ type: 'object' }], messages: { wrong: '{{imported}} is imported. {{message}}' } },
  create(context) {
    /** @type {{ root: string, zones: { target: string, allow?: string[], deny?: string[], message: string }[] }} */
    const { root, zones } = context.options[0];
    const file = fromRoot(root, context.physicalFilename);
    const mine = zones.filter(({ target }) => within(file, target));

    /** @param {{ source?: unknown }} node */
    const check = (node) => {
      const source = /** @type {import('estree').Literal | null | undefined} */ (node.source);
      if (typeof source?.value !== 'string' || !source.value.startsWith('.')) return;
      // Imports end in .js, as Node wants them; their sources end in .ts.
      const imported = fromRoot(root, resolve(dirname(context.physicalFilename), source.value)).replace(/\.js$/, '.ts');
      for (const { target, allow, deny, message } of mine) {
        const wrong = deny ? deny.some((path) => within(imported, path)) : ![target, ...(allow ?? [])].some((path) => within(imported, path));
        if (wrong) context.report({ node: source, messageId: 'wrong', data: { imported, message } });
      }
    };
    return { ImportDeclaration: check, ExportNamedDeclaration: check, ExportAllDeclaration: check, ImportExpression: check, TSImportType: check };
  },
};

/** @param {string} root @param {string} path */
function fromRoot(root, path) {
  return relative(root, path).split(sep).join('/');
}

/** @param {string} path @param {string} folder */
function within(path, folder) {
  return path === folder || path.startsWith(`${folder}/`);
}
