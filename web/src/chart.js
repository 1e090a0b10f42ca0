// Draws the data of a chart page (see alphapulse/adapters/charts/page.py): prices, lines, panes, marks.

import {
  CandlestickSeries, createChart, createSeriesMarkers, HistogramSeries, LineSeries,
} from 'lightweight-charts';

const UP = '#26a69a';
const DOWN = '#ef5350';
const COLOURS = ['#5b8def', '#ff9f43', '#b97aff', '#2bc4d4', '#ff6b9d', '#8bc34a', '#bca08a'];
const SHAPES = { '1': ['arrowUp', 'belowBar', UP], '-1': ['arrowDown', 'aboveBar', DOWN] };

const data = JSON.parse(document.getElementById('data').textContent);
const chart = createChart(document.getElementById('chart'), {
  autoSize: true,
  layout: { background: { color: '#131722' }, textColor: '#d1d4dc', panes: { separatorColor: '#2a2e39' } },
  grid: { vertLines: { color: '#1e222d' }, horzLines: { color: '#1e222d' } },
  timeScale: { timeVisible: true, borderColor: '#2a2e39' },
  rightPriceScale: { borderColor: '#2a2e39' },
  crosshair: { mode: 0 },
});

function decimals(value) {
  const text = String(value);
  if (text.includes('e')) return 8;
  return text.includes('.') ? text.length - text.indexOf('.') - 1 : 0;
}

const finest = Math.min(8, data.bars.reduce((most, bar) => Math.max(most, decimals(bar.close)), 0));
const priceFormat = { type: 'price', precision: finest, minMove: 10 ** -finest };
const prices = chart.addSeries(CandlestickSeries, {
  upColor: UP, wickUpColor: UP, downColor: DOWN, wickDownColor: DOWN, borderVisible: false, priceFormat,
});
prices.setData(data.bars);

const rises = new Map(data.bars.map((bar) => [bar.time, bar.close >= bar.open]));
const volumes = chart.addSeries(HistogramSeries, { priceScaleId: '', priceFormat: { type: 'volume' } });
volumes.priceScale().applyOptions({ scaleMargins: { top: 0.85, bottom: 0 } });
volumes.setData(data.volume.map((each) => ({ ...each, color: (rises.get(each.time) ? UP : DOWN) + '55' })));

const quiet = { lastValueVisible: false, priceLineVisible: false, lineWidth: 1 };
data.overlays.forEach((line, i) => {
  const series = chart.addSeries(LineSeries, { ...quiet, title: line.name, color: COLOURS[i % COLOURS.length], priceFormat });
  series.setData(line.points);
});

data.panes.forEach((pane, p) => {
  pane.lines.forEach((line, i) => {
    const histogram = line.name.endsWith('histogram');
    const series = chart.addSeries(
      histogram ? HistogramSeries : LineSeries,
      { ...quiet, title: line.name, color: COLOURS[i % COLOURS.length] },
      p + 1,
    );
    series.setData(line.points.map((each) => (
      histogram ? { ...each, color: each.value >= 0 ? UP : DOWN } : each
    )));
    if (i === 0) {
      pane.guides.forEach((price) => series.createPriceLine({ price, color: '#5d6579', lineWidth: 1, lineStyle: 2, axisLabelVisible: false }));
    }
  });
});

data.levels.forEach(({ price, text }) => {
  prices.createPriceLine({ price, title: text, color: '#8b93a7', lineWidth: 1, lineStyle: 2 });
});
createSeriesMarkers(prices, data.marks.map(({ time, direction, text }) => {
  const [shape, position, color] = SHAPES[direction] ?? ['circle', 'aboveBar', '#8b93a7'];
  return { time, shape, position, color, text };
}));
chart.timeScale().fitContent();
