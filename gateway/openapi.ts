/** What there is over HTTP, for programs: OpenAPI 3.1. */
export function openApi(version: string): object {
  const problem = (description: string): object => ({ description, content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } });
  const value = { description: 'The value, as it was written.', headers: { ETag: header('The write that made the value: "epoch-offset".') }, content: { '*/*': { schema: { type: 'string', format: 'binary' } } } };
  const written = {
    description: 'The write is on the disk.',
    headers: { ETag: header('This write: "epoch-offset".') },
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Position' } } },
  };
  const redirect = { description: 'Another node is the primary of this key: ask it at Location.' };
  const others = { default: problem('Anything else that is wrong; the code says what.') };
  const common = { ...others, '307': redirect, '400': problem('The request is wrong: the detail says where.'), '503': problem('Nobody serves the key now, or too much is on its way: try again.'), '504': problem('There was no answer in time.') };
  const read = (summary: string): object => ({
    summary,
    parameters: [query('consistency', { type: 'string', enum: ['strong', 'stale'] }, 'Of a node that follows the primary: strong sends to the primary, stale (which it is when not given) is answered from here.'), ...conditions],
    responses: { '200': value, '304': { description: 'It is still what If-None-Match names.' }, '404': problem('The key is not there.'), '412': problem('If-Match does not hold.'), ...common },
  });
  const write = (summary: string): object => ({
    summary,
    parameters: conditions,
    requestBody: { description: 'The value, up to 8 MiB.', content: { '*/*': { schema: { type: 'string', format: 'binary' } } } },
    responses: { '200': written, '412': problem('The condition does not hold; nothing was changed.'), '413': problem('The value is longer than 8 MiB.'), ...common },
  });
  const key = { name: 'key', in: 'path', required: true, description: 'Any bytes, percent-encoded; slashes may stand as they are.', schema: { type: 'string', minLength: 1 } };
  const json = (description: string): object => ({ description, content: { 'application/json': { schema: { type: 'object' } } } });
  const page = (summary: string, parameters: readonly object[] = [], responses: object = others): object => ({ get: { summary, parameters, responses: { '200': json(summary), ...responses } }, ...headOf(parameters) });
  const headOf = (parameters: readonly object[]): object => ({ head: { summary: 'What GET says, without its body.', parameters, responses: { '200': { description: 'The headers.' }, ...others } } });
  const listing = [
    query('prefix', { type: 'string' }, 'Only keys that begin so.'),
    query('start', { type: 'string' }, 'The first key.'),
    query('end', { type: 'string' }, 'The key before which to end.'),
    query('limit', { type: 'integer', minimum: 1 }, 'At most so many.'),
    query('reverse', { type: 'boolean' }, 'From the last key to the first.'),
    query('keys_only', { type: 'boolean' }, 'Without the values.'),
    query('token', { type: 'string' }, '`next` of an earlier listing of the same keys: goes on behind it.'),
  ];
  return {
    openapi: '3.1.0',
    info: { title: 'keyranger', version, license: { name: 'MIT', identifier: 'MIT' }, description: 'A range-sharded key-value store. A value of a key is read, written and deleted under /kv/; /set/ and /get/ are the same.' },
    paths: {
      '/kv/{key}': {
        parameters: [key],
        get: read('The value of a key.'),
        head: read('What GET says, without the value.'),
        put: write('Stores a value.'),
        delete: { summary: 'Deletes a key; one that is absent is no error.', parameters: conditions, responses: { '200': written, '412': problem('The condition does not hold; nothing was changed.'), ...common } },
      },
      '/kv/': {
        get: {
          summary: 'Keys and values in order of the keys, as a stream.',
          parameters: listing,
          responses: {
            '200': {
              description: 'With Accept: application/x-ndjson an item a line.',
              content: { 'application/json': { schema: { $ref: '#/components/schemas/Listing' } }, 'application/x-ndjson': { schema: { $ref: '#/components/schemas/Item' } } },
            },
            ...common,
          },
        },
        ...headOf(listing),
      },
      '/get/{key}': { parameters: [key], get: read('The value of a key.'), head: read('What GET says, without the value.') },
      '/set/{key}': { parameters: [key], put: write('Stores a value.') },
      '/health': page('The process lives.'),
      '/ready': page('It can be sent requests.', [], { '503': json('It had better not be yet; the reason says why.') }),
      '/role': page('primary, replica or proxy.'),
      '/status': page('leader, follower or proxy.', [query('level', { type: 'string', enum: ['full'] }, 'full: with the keys that it has.')]),
      '/openapi.json': page('This document.'),
      '/metrics': { get: { summary: 'Metrics in the Prometheus format.', responses: { '200': { description: 'Metrics.', content: { 'text/plain': {} } } } } },
    },
    components: {
      schemas: {
        Position: { type: 'object', required: ['epoch', 'offset'], properties: { epoch: { type: 'integer' }, offset: { type: 'integer' } } },
        Item: {
          type: 'object',
          properties: {
            key: { type: 'string' },
            key_base64: { type: 'string', description: 'In place of key, when that is not UTF-8.' },
            value: { type: 'string' },
            value_base64: { type: 'string', description: 'In place of value, when that is not UTF-8.' },
            content_type: { type: 'string' },
            epoch: { type: 'integer' },
            offset: { type: 'integer' },
          },
        },
        Listing: { type: 'object', required: ['items', 'next'], properties: { items: { type: 'array', items: { $ref: '#/components/schemas/Item' } }, next: { type: ['string', 'null'], description: 'A token, when there is more.' } } },
        Problem: {
          type: 'object',
          required: ['type', 'title', 'status', 'code', 'detail'],
          properties: { type: { type: 'string' }, title: { type: 'string' }, status: { type: 'integer' }, code: { type: 'string', description: 'Never changes its meaning.' }, detail: { type: 'string' } },
        },
      },
    },
  };
}

const conditions = [
  { name: 'If-Match', in: 'header', required: false, description: '* for any value, or the ETags of those that it may be.', schema: { type: 'string' } },
  { name: 'If-None-Match', in: 'header', required: false, description: '* for none, or the ETags of those that it may not be.', schema: { type: 'string' } },
];

function query(name: string, schema: object, description: string): object {
  return { name, in: 'query', required: false, description, schema };
}

function header(description: string): object {
  return { description, schema: { type: 'string' } };
}
