/** Text for people; control characters could do anything to a terminal. */
export function shown(value: Buffer): string {
  const text = value.toString('utf8');
  const printable = !text.startsWith('b64:') && Buffer.from(text, 'utf8').equals(value) && !UNPRINTABLE.test(text);
  return printable ? text : `b64:${value.toString('base64')}`;
}

// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
