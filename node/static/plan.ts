import { AppError } from '../../runtime/errors.js';
import { formatAddress, parseAddress } from '../../runtime/units.js';

/** What a static node was told to be, and where the others are. */
export type StaticPlan = { readonly is: 'primary'; readonly peers: readonly string[] } | { readonly is: 'replica'; readonly primary: string; readonly peers: readonly string[] };

/** Reads the flags of static mode; undefined when it is off. `address` is this node's own. */
export function staticPlan(config: { readonly static: 'off' | 'primary' | 'replica'; readonly primaryUrl: string; readonly replicaUrls: string }, address: string): StaticPlan | undefined {
  const { static: role, primaryUrl, replicaUrls } = config;
  if (role === 'off') return undefined;
  if (role === 'primary') return { is: 'primary', peers: split(replicaUrls).flatMap((url) => peerOf(url) ?? []) };
  const primary = peerOf(primaryUrl);
  if (primary === undefined) {
    throw new AppError('INVALID_ARGUMENT', 'a replica has to be told where its primary is, with --primary-url or PRIMARY_URL, such as http://localhost:8081; the host name of a pod, such as kvstore-1, would tell it too');
  }
  if (primary === address) throw new AppError('INVALID_ARGUMENT', `--primary-url or PRIMARY_URL names this replica itself, ${address}: it has to name the primary`);
  return { is: 'replica', primary, peers: [primary] };
}

/** `host:port` of `http://host:port/`, or of itself; undefined when it is neither. */
export function peerOf(url: string): string | undefined {
  const bare = url.replace(/^http:\/\//, '').replace(/\/$/, '');
  const address = parseAddress(bare) ?? (bare === url ? undefined : parseAddress(`${bare}:80`));
  return address && address.host !== '' && address.port > 0 ? formatAddress(address) : undefined;
}

/** What is wrong with it; undefined when nothing is. Empty is none. */
export function checkPeer(url: string): string | undefined {
  return url === '' || peerOf(url) !== undefined ? undefined : 'it has to be host:port or http://host:port';
}

export function checkPeers(urls: string): string | undefined {
  const bad = split(urls).find((url) => peerOf(url) === undefined);
  return bad === undefined ? undefined : `${JSON.stringify(bad)} has to be host:port or http://host:port`;
}

function split(urls: string): string[] {
  return urls.split(',').map((url) => url.trim()).filter((url) => url !== '');
}
