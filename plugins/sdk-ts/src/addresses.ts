//! Patterns of addresses and of domains, and addresses that operators write. Pure.

import type { Mailbox } from 'waypost:plugin/types@0.1.0';

/** True for what the pattern means. */
export type DomainPattern = (domain: string) => boolean;
export type AddressPattern = (mailbox: Mailbox) => boolean;

/** `example.org`, `.example.org` (what is below it, not the name itself) or `*`. */
export function domainPattern(text: string): DomainPattern {
  const pattern = text.toLowerCase();
  if (pattern === '*') return () => true;
  const name = pattern.startsWith('.') ? pattern.slice(1) : pattern;
  const literal = /^\[[^\[\]@\s]+\]$/.test(pattern);
  if (!literal && !/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name)) {
    throw new Error(`\`${text}\` is not a domain, a .suffix or *; write other scripts as xn-- labels`);
  }
  return pattern.startsWith('.') ? (domain) => domain.endsWith(pattern) : (domain) => domain === pattern;
}

/** A domain pattern, `ann@example.org`, or `ann@` for that local part in any domain. Case is not looked at. */
export function addressPattern(text: string): AddressPattern {
  const at = text.lastIndexOf('@');
  if (at < 0) {
    const fits = domainPattern(text);
    return (mailbox) => fits(mailbox.domain);
  }
  const local = text.slice(0, at).toLowerCase();
  if (local === '') throw new Error(`\`${text}\` has nothing before the @; write the domain alone`);
  const rest = text.slice(at + 1);
  const fits = rest === '' ? () => true : domainPattern(rest);
  return (mailbox) => mailbox.localPart.toLowerCase() === local && fits(mailbox.domain);
}

/** An address, its domain in lower case. */
export function mailbox(text: string): Mailbox {
  const at = text.lastIndexOf('@');
  const [localPart, domain] = [text.slice(0, at), text.slice(at + 1).toLowerCase()];
  const good = at > 0 && at <= 64 && !/[\s<>]/.test(text) && /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(domain);
  if (!good) throw new Error(`\`${text}\` is not an address`);
  return { localPart, domain };
}

export function shown(mailbox: Mailbox): string {
  return mailbox.domain === '' ? mailbox.localPart : `${mailbox.localPart}@${mailbox.domain}`;
}
