//! Charts in SVG, without a library. Colour comes from classes. What a chart says, its label or its figures say too.

import { h, set, svg } from './dom.js';
import { clock, number, rate } from './format.js';

/** One bar of several parts, `[amount, class, name]`, as wide as its share of `most`. */
export function stack(parts, most, label) {
  const sum = parts.reduce((all, [amount]) => all + amount, 0);
  let x = 0;
  const rects = parts.filter(([amount]) => amount > 0).map(([amount, cls, name]) => {
    const width = (amount / Math.max(most, 1)) * 1000;
    const rect = svg('rect', { x, y: 0, width: Math.max(width, 3), height: 10, class: cls }, svg('title', `${name}: ${number(amount)}`));
    x += width;
    return rect;
  });
  return svg('svg', { class: 'stack', viewBox: '0 0 1000 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': label || `${number(sum)}` },
    svg('rect', { x: 0, y: 0, width: 1000, height: 10, class: 'stack-ground' }), rects);
}

function nice(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= most);
}

/**
 * Stacked columns over time. `series`: `{ name, key, cls }`, from the bottom up. `update(points, per)` draws; values are
 * divided by `per` seconds. The legend shows the figures under the pointer, or the last ones; arrow keys move too.
 */
export function flow(title, series) {
  const height = 132;
  const margin = { left: 34, right: 4, top: 8, bottom: 18 };
  const drawing = svg('svg', { class: 'flow-drawing', height, 'aria-hidden': 'true' });
  const readout = h('span', { class: 'flow-time tabular' });
  const values = series.map(() => h('span', { class: 'flow-value tabular' }));
  const legend = h('div', { class: 'flow-legend' }, series.map((one, at) =>
    h('span', { class: 'flow-key' }, svg('svg', { class: 'swatch', viewBox: '0 0 10 10', 'aria-hidden': 'true' }, svg('rect', { width: 10, height: 10, rx: 2, class: one.cls })),
      h('span', one.name), values[at])), readout);
  const stage = h('div', { class: 'flow-stage', tabindex: '0', role: 'group', 'aria-roledescription': 'chart' }, drawing);
  const spoken = h('div', { class: 'unseen', 'aria-live': 'polite' });
  const node = h('figure', { class: 'flow' }, h('figcaption', { class: 'flow-title' }, h('h3', title), legend), stage, spoken);
  node.$own = true;
  let points = [];
  let per = 5;
  let cursor = null;
  let width = 0;

  const xOf = (at) => margin.left + (at / Math.max(points.length, 1)) * (width - margin.left - margin.right);
  const value = (point, one) => (point[one.key] || 0) / per;

  function read() {
    const at = cursor ?? points.length - 1;
    const point = points[at];
    series.forEach((one, place) => set(values[place], point ? `${rate(value(point, one))}/s` : '–'));
    set(readout, point && cursor !== null ? clock(point.at) : 'now');
  }

  function draw() {
    width = Math.max(stage.clientWidth, 200);
    const most = nice(Math.max(...points.map((point) => series.reduce((sum, one) => sum + value(point, one), 0)), 0.2) * 1.05);
    const yOf = (amount) => height - margin.bottom - (amount / most) * (height - margin.top - margin.bottom);
    const each = (width - margin.left - margin.right) / Math.max(points.length, 1);
    const columns = points.flatMap((point, at) => {
      let base = 0;
      return series.map((one) => {
        const amount = value(point, one);
        const top = yOf(base + amount);
        const rect = amount > 0 && svg('rect', { x: (xOf(at) + 0.5).toFixed(1), y: top.toFixed(1), width: Math.max(each - 1, 0.8).toFixed(1), height: Math.max(yOf(base) - top, 0.7).toFixed(1), class: one.cls });
        base += amount;
        return rect;
      });
    });
    const lines = [0, 0.5, 1].map((share) => [
      svg('line', { x1: margin.left, x2: width - margin.right, y1: yOf(most * share), y2: yOf(most * share), class: share ? 'grid' : 'grid base' }),
      svg('text', { x: margin.left - 6, y: yOf(most * share) + 3.5, 'text-anchor': 'end', class: 'axis' }, rate(most * share))]);
    const marks = points.map((point, at) => {
      const time = new Date(point.at);
      const whole = time.getSeconds() < per && time.getMinutes() % (width < 420 ? 4 : 2) === 0;
      return whole && xOf(at) < width - 30 && svg('text', { x: xOf(at), y: height - 4, class: 'axis' }, clock(point.at).slice(0, 5));
    });
    const line = cursor !== null && points[cursor] && svg('line', { x1: xOf(cursor) + each / 2, x2: xOf(cursor) + each / 2, y1: margin.top, y2: height - margin.bottom, class: 'cursor' });
    drawing.setAttribute('viewBox', `0 0 ${width} ${height}`);
    drawing.setAttribute('width', width);
    set(drawing, lines, columns, marks, line);
    read();
  }

  function move(to) {
    cursor = to === null ? null : Math.max(0, Math.min(points.length - 1, to));
    draw();
  }

  stage.onpointermove = (event) => {
    if (!points.length) return;
    const box = stage.getBoundingClientRect();
    move(Math.floor(((event.clientX - box.left - margin.left) / (width - margin.left - margin.right)) * points.length));
  };
  stage.onpointerleave = () => move(null);
  stage.onblur = () => move(null);
  stage.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !points.length) return;
    event.preventDefault();
    move((cursor ?? points.length) + by);
    const point = points[cursor];
    set(spoken, `${clock(point.at)}: ${series.map((one) => `${one.name} ${rate(value(point, one))} a second`).join(', ')}`);
  };
  if (typeof ResizeObserver === 'function') new ResizeObserver(() => draw()).observe(stage);

  node.update = (fresh, step) => {
    points = fresh;
    per = step || 5;
    const minute = points.slice(-Math.round(60 / per));
    const mean = (one) => minute.reduce((sum, point) => sum + (point[one.key] || 0), 0) / Math.max(minute.length * per, 1);
    stage.setAttribute('aria-label', `${title} over ten minutes. In the last minute: ${series.map((one) => `${one.name} ${rate(mean(one))} a second`).join(', ')}. Left and right arrow keys read single values.`);
    draw();
  };
  return node;
}

/** A row of dots on a line of time, `[share, class, title]`. */
export function track(dots, label) {
  return svg('svg', { class: 'track', viewBox: '0 0 1000 14', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    svg('line', { x1: 0, x2: 1000, y1: 7, y2: 7, class: 'grid' }),
    dots.map(([share, cls, title]) => svg('rect', { x: 4 + share * 988, y: 2, width: 4, height: 10, rx: 1, class: cls }, svg('title', title))));
}
