/*
 * The variables of two small stores for StatefulSets, as those of a node: ROLE, PORT,
 * DATA_DIR, REPLICA_URLS and PRIMARY_URL of the one, MEHDB_… of the other.
 */

const DEFAULT_PORT = '8080';
const MEHDB_PORT = '9876';
/** The leader of a follower on the same machine. */
const MEHDB_LOCAL_LEADER = 'localhost:9999';
const MEHDB = ['MEHDB_HOST', 'MEHDB_PORT', 'MEHDB_LOCAL', 'MEHDB_DATADIR'];

/**
 * The environment, with what these variables stand for where nothing else was set.
 * PORT counts with ROLE alone, for other programs have one too. Without any of them
 * the environment is as it was.
 */
export function staticEnvironment(env: NodeJS.ProcessEnv, hostname: string): NodeJS.ProcessEnv {
  const given = { ...env };
  const fill = (name: string, value: string | undefined): void => {
    if (value !== undefined && !given[name]) given[name] = value;
  };
  const isMehdb = MEHDB.some((name) => given[name]);
  const host = (isMehdb && given['MEHDB_HOST']) || hostname;
  if (isMehdb) {
    const isLocal = /^(yes|true|1|on)$/i.test(given['MEHDB_LOCAL'] ?? '');
    // A follower on somebody's own machine, whatever that is called.
    fill('ROLE', isLocal && !given['MEHDB_HOST'] ? 'replica' : 'auto');
    if (given['MEHDB_PORT']) given['PORT'] = given['MEHDB_PORT'];
    fill('PORT', MEHDB_PORT);
    fill('DATA_DIR', given['MEHDB_DATADIR']);
    if (isLocal) fill('PRIMARY_URL', MEHDB_LOCAL_LEADER);
  }
  if (given['PRIMARY_URL'] || given['REPLICA_URLS']) fill('ROLE', 'auto');
  if (!given['ROLE']) return given;
  if (given['ROLE'] === 'auto') given['ROLE'] = ordinalOf(host)?.ordinal === 0 ? 'primary' : 'replica';
  fill('PORT', DEFAULT_PORT);
  fill('LISTEN', `:${given['PORT'] ?? ''}`);
  fill('PRIMARY_URL', primaryBeside(host, given['PORT'] ?? ''));
  return given;
}

/** The first pod of the StatefulSet that `host` is of, under a headless Service of the same name. */
function primaryBeside(host: string, port: string): string | undefined {
  const pod = ordinalOf(host);
  return pod && `${pod.set}-0.${pod.rest || pod.set}:${port}`;
}

/** `kvstore-1` or `kvstore-1.kvstore.default.svc` as a StatefulSet names its pods. */
function ordinalOf(host: string): { readonly set: string; readonly ordinal: number; readonly rest: string } | undefined {
  const match = /^([a-z0-9][a-z0-9-]*)-(\d+)(?:\.(.+))?$/i.exec(host);
  return match ? { set: match[1] ?? '', ordinal: Number(match[2]), rest: match[3] ?? '' } : undefined;
}
