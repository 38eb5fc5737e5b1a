/** Which addresses are of this machine or of its own networks. */
import { BlockList, isIP } from 'node:net';

const OWN = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  OWN.addSubnet(network, bits, 'ipv4');
for (const [network, bits] of [
  ['::', 128],
  ['::1', 128],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
  ['2002::', 16],
] as const)
  OWN.addSubnet(network, bits, 'ipv6');

/** Whether an IPv4 or IPv6 address is one of the public internet; an IPv4 address inside of an IPv6 one counts as itself. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address);
  if (version === 0) return false;
  // Node's list takes ::ffff:a.b.c.d for the IPv4 address in it.
  return !OWN.check(address, version === 4 ? 'ipv4' : 'ipv6');
}
