//! Small line drawings, 16 by 16. Decoration: never the only bearer of a meaning.

import { svg } from './dom.js';

const PATHS = {
  overview: 'M2 12.5V9m4 3.5v-7m4 7V7m4 5.5v-9',
  queue: 'M2.5 4h11m-11 4h11m-11 4h7',
  history: 'M8 4.5V8l2.5 1.5M2.6 6.5A5.6 5.6 0 1 1 2.5 9M2.5 3.5v3h3',
  live: 'M1.5 8h3l2-5 3 10 2-5h3',
  destinations: 'M8 14V2m0 1.5h4.5L14 5l-1.500 1.500H8M8 8.500H3.500L2 10l1.500 1.500H8',
  rules: 'M5.500 3v10m5-10v10',
  suppression: 'M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11M4.200 4.200l7.600 7.600',
  plugins: 'M6 2v3m4-3v3M4 5h8v3a4 4 0 0 1-8 0zm4 7v2.500',
  decisions: 'M8 14V9M8 9 3.500 5.500M8 9l4.500-3.500M3 8V5h3m7 3V5h-3',
  bans: 'M8 1.800 13 3.800v4c0 3.200-2.200 5.300-5 6.400-2.800-1.100-5-3.200-5-6.400v-4z',
  audit: 'M4 2h6l2.500 2.500V14H4zM6.500 7h4m-4 3h4',
  menu: 'M2.500 4.500h11m-11 3.500h11m-11 3.500h11',
  close: 'M4 4l8 8m0-8-8 8',
  sun: 'M8 5.200a2.800 2.800 0 1 0 0 5.600 2.800 2.800 0 0 0 0-5.600M8 1.500v1.200m0 10.600v1.200M1.500 8h1.200m10.600 0h1.200M3.400 3.400l.9.9m7.400 7.400.9.9m0-9.200-.9.9m-7.400 7.400-.9.9',
  moon: 'M13.300 9.700A5.800 5.800 0 0 1 6.300 2.700a5.800 5.800 0 1 0 7 7z',
  auto: 'M8 2.500a5.500 5.500 0 1 0 0 11zM8 2.500a5.500 5.500 0 0 1 0 11',
  out: 'M6 2.500H3v11h3M6.500 8h7m-2.800-2.800L13.500 8l-2.800 2.800',
  help: 'M5.800 6a2.200 2.200 0 1 1 3.200 2c-.7.400-1 .8-1 1.600M8 12v.300',
  check: 'M3 8.500l3.200 3.200L13 4.800',
  warn: 'M8 2.500 14.500 13.500h-13zM8 6.500v3.300m0 1.700v.200',
  alarm: 'M5.500 2h5L14 5.500v5L10.500 14h-5L2 10.500v-5zM8 4.800v4m0 2v.300',
  note: 'M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11M8 7.300V11M8 5v.200',
  pause: 'M5.500 3.500v9m5-9v9',
  play: 'M5 3.200v9.600l8-4.800z',
  refresh: 'M13 8a5 5 0 1 1-1.500-3.600M13 2.500v2.500h-2.500',
  right: 'M6 3.500 10.500 8 6 12.500',
  search: 'M7 2.800a4.200 4.200 0 1 0 0 8.400 4.200 4.200 0 0 0 0-8.400M10.200 10.200 13.500 13.500',
  download: 'M8 2.500v7m-2.800-2.800L8 9.500l2.800-2.800M3 12.800h10',
  copy: 'M5.500 5.500h7.500v8H5.500zM10.500 5.500v-3H3v8h2.500',
  inbox: 'M2 9.500 4 3h8l2 6.500V13H2zM2 9.500h3.500l1 1.800h3l1-1.800H14',
};

/** A drawing, hidden from screen readers. */
export function icon(name) {
  return svg('svg', { class: 'icon', viewBox: '0 0 16 16', 'aria-hidden': 'true', focusable: 'false' },
    svg('path', { d: PATHS[name] || PATHS.note }));
}

/** The signpost. */
export function mark() {
  return svg('svg', { class: 'mark', viewBox: '0 0 32 32', 'aria-hidden': 'true', focusable: 'false' },
    svg('rect', { width: 32, height: 32, rx: 7, class: 'mark-ground' }),
    svg('path', { d: 'M15 5.500h2v21h-2zM8 8h13.200l3.300 3.200-3.300 3.300H8z', class: 'mark-front' }),
    svg('path', { d: 'M24 16.500H12.400L9.200 19.400l3.200 3H24z', class: 'mark-back' }));
}
