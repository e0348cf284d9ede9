/** IP addresses and CIDR blocks of both families, as numbers. Pure. */

export interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

export interface Block {
  readonly base: Address;
  /** Leading bits that count. */
  readonly prefix: number;
}

/** Leading bits that `LOG_IP=prefix` keeps: a household or a small site, not a person. */
const LOGGED_PREFIX_BITS = { 32: 24, 128: 48 } as const;

/** Reads an IPv4 or IPv6 address. An IPv4-mapped one (`::ffff:192.0.2.1`) is the IPv4 address; null if it is neither. */
export function parseAddress(text: string): Address | null {
  if (!text.includes(":")) {
    const value = parseIPv4(text);
    return value === null ? null : { bits: 32, value };
  }
  const value = parseIPv6(text);
  if (value === null) return null;
  return value >> 32n === 0xffffn ? { bits: 32, value: value & 0xffff_ffffn } : { bits: 128, value };
}

/** Reads an address or a CIDR block; null if it is neither. Bits below the prefix are ignored. */
export function parseBlock(text: string): Block | null {
  const [addressText = "", prefixText, ...rest] = text.split("/");
  const base = parseAddress(addressText);
  if (base === null || rest.length > 0) return null;
  if (prefixText === undefined) return { base, prefix: base.bits };
  if (!/^\d{1,3}$/.test(prefixText)) return null;
  // ::ffff:192.0.2.0/120 is the mapped form of 192.0.2.0/24.
  const prefix = Number(prefixText) - (base.bits === 32 && addressText.includes(":") ? 96 : 0);
  return prefix >= 0 && prefix <= base.bits ? { base, prefix } : null;
}

export function blockHolds(block: Block, address: Address): boolean {
  if (block.base.bits !== address.bits) return false;
  const ignored = BigInt(block.base.bits - block.prefix);
  return block.base.value >> ignored === address.value >> ignored;
}

/** The block of a household or small site that an address lies in, as text: `192.0.2.0/24`, `2001:db8:1::/48`. */
export function loggedPrefix(address: Address): string {
  const prefix = LOGGED_PREFIX_BITS[address.bits];
  const ignored = BigInt(address.bits - prefix);
  const base = (address.value >> ignored) << ignored;
  if (address.bits === 32) return `${[24n, 16n, 8n, 0n].map((shift) => (base >> shift) & 0xffn).join(".")}/${prefix}`;
  const groups = [112n, 96n, 80n].map((shift) => ((base >> shift) & 0xffffn).toString(16));
  return `${groups.join(":")}::/${prefix}`;
}

function parseIPv4(text: string): bigint | null {
  const octets = text.split(".");
  // No leading zeros: some readers take 010 as octal 8, and then the two sides disagree about the address.
  if (octets.length !== 4 || !octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) <= 255)) {
    return null;
  }
  return octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parseIPv6(text: string): bigint | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  // Only the end of the whole address may be written as IPv4.
  const [head, tail] = [groupsOf(halves[0] ?? "", halves.length === 1), groupsOf(halves[1] ?? "", true)];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...Array<bigint>(missing).fill(0n), ...tail];
  return groups.reduce((value, group) => (value << 16n) | group, 0n);
}

function groupsOf(text: string, mayEndInIPv4: boolean): bigint[] | null {
  if (text === "") return [];
  const groups: bigint[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(BigInt(`0x${part}`));
      continue;
    }
    const embedded = mayEndInIPv4 && index === parts.length - 1 ? parseIPv4(part) : null;
    if (embedded === null) return null;
    groups.push(embedded >> 16n, embedded & 0xffffn);
  }
  return groups;
}
