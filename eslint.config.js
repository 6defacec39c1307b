// @ts-check
import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';
import { importDirection } from './tools/lint/import-direction.js';

/**
 * Which folder may import which: the table of docs/ARCHITECTURE.md. A service never
 * imports another; they meet in proto/.
 */
export const MAY_IMPORT = {
  model: [],
  runtime: [],
  proto: ['model', 'runtime'],
  coordination: ['model', 'runtime', 'proto'],
  rangelet: ['model', 'runtime', 'proto'],
  client: ['model', 'runtime', 'proto', 'coordination/interfaces.ts'],
  'client/sdk': ['client', 'rangelet', 'model', 'runtime', 'proto', 'coordination'],
  controller: ['model', 'runtime', 'proto', 'coordination'],
  node: ['gateway', 'client', 'rangelet', 'model', 'runtime', 'proto', 'coordination'],
  proxy: ['gateway', 'client', 'rangelet', 'model', 'runtime', 'proto', 'coordination'],
  gateway: ['client', 'model', 'runtime'],
  rangerctl: ['client', 'model', 'runtime'],
  'tools/hammer': ['client', 'model', 'runtime'],
  'tools/bench': ['client', 'controller', 'model', 'runtime', 'proto'],
  'tools/dev': ['model', 'runtime'],
};

const DIRECTION = Object.entries(MAY_IMPORT).map(([target, allow]) => ({
  target,
  allow,
  message: `${target}/ may import ${allow.length === 0 ? 'nothing of the project' : `only ${allow.join(', ')}`}.`,
}));

const BACKENDS = ['controller', 'node', 'proxy'].map((target) => ({
  target,
  deny: ['coordination/consul', 'coordination/embedded', 'coordination/memory'],
  message: 'Backends are chosen in main.ts only; take the interfaces as arguments.',
}));

/** @param {{ target: string, message: string }[][]} zones */
const direction = (...zones) => ({ 'project/import-direction': ['error', { root: import.meta.dirname, zones: zones.flat() }] });

const TIME_AND_CHANCE = 'Clock and randomness are arguments: take a Clock or Random of runtime/.';

const impure = {
  'no-restricted-globals': ['error', ...['setTimeout', 'setInterval', 'setImmediate'].map((name) => ({ name, message: TIME_AND_CHANCE }))],
  'no-restricted-imports': ['error', { paths: ['timers', 'timers/promises', 'node:timers', 'node:timers/promises'].map((name) => ({ name, message: TIME_AND_CHANCE })) }],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: TIME_AND_CHANCE },
    { object: 'Math', property: 'random', message: TIME_AND_CHANCE },
    { object: 'performance', property: 'now', message: TIME_AND_CHANCE },
    { object: 'process', property: 'hrtime', message: TIME_AND_CHANCE },
    ...['setTimeout', 'setInterval', 'setImmediate'].map((property) => ({ object: 'globalThis', property, message: TIME_AND_CHANCE })),
  ],
  'no-restricted-syntax': [
    'error',
    { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: TIME_AND_CHANCE },
    { selector: "CallExpression[callee.name='Date']", message: TIME_AND_CHANCE },
    { selector: 'TSEnumDeclaration', message: 'Use a union of string literals.' },
  ],
};

const MAINS = ['controller/main.ts', 'node/main.ts', 'proxy/main.ts'];
const TESTS = ['**/*.test.ts', '**/testing/**/*.ts', 'test/**/*.ts', 'coordination/contract/**/*.ts'];

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'proto/gen/', '.data/', '.cache/', 'coverage/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { project: { rules: { 'import-direction': importDirection } } },
    rules: {
      ...impure,
      ...direction(DIRECTION, BACKENDS),
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_' }],
      // Numbers and booleans read well in templates; objects do not, and stay refused.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // An async function that awaits nothing makes rejections of its throws.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // An empty function says that nothing is to be done.
      '@typescript-eslint/no-empty-function': 'off',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  { files: MAINS, rules: direction(DIRECTION) },
  // The SDK puts the pieces together for an application, as a main.ts does for a process.
  { files: ['client/sdk/**/*.ts'], rules: direction(DIRECTION.filter(({ target }) => target !== 'client')) },
  { files: ['runtime/**/*.ts'], rules: { 'no-restricted-globals': 'off', 'no-restricted-imports': 'off', 'no-restricted-properties': 'off' } },
  {
    files: TESTS,
    rules: {
      'project/import-direction': 'off',
      'no-restricted-globals': 'off',
      'no-restricted-imports': 'off',
      'no-restricted-properties': 'off',
      'no-restricted-syntax': 'off',
      // What a callback sets, a test waits for; wrong values are what a test sends.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
      '@typescript-eslint/no-unsafe-enum-comparison': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
);
