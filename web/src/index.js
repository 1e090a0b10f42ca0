// The landing page: one instrument's candles, live, and whether everything behind them is well.

import { createClient } from 'graphql-ws';
import { CandlestickSeries, createChart, HistogramSeries } from 'lightweight-charts';

import './index.css';

const BARS = 1000;
const HEALTH_MS = 3000;
const TIMEFRAMES = { M1: '1 minute', M5: '5 minutes', M15: '15 minutes', H1: '1 hour', H4: '4 hours', D1: '1 day', W1: '1 week' };
const UP = '#26a69a';
const DOWN = '#ef5350';

const HISTORY = `query($instrument: String!, $timeframe: Timeframe!) {
  candles(instrument: $instrument, timeframe: $timeframe, last: ${BARS}) {
    position start open high low close baseVolume state
  }
}`;
const LIVE = `subscription($instrument: String!, $timeframe: Timeframe!, $after: Position) {
  candles(instrument: $instrument, timeframe: $timeframe, after: $after) {
    position
    candles { start open high low close baseVolume state }
    discontinuity { after until }
  }
}`;

const byId = (id) => document.getElementById(id);
const token = () => sessionStorage.getItem('token') ?? '';

async function ask(query, variables) {
  const headers = { 'content-type': 'application/json' };
  if (token()) headers.authorization = `Bearer ${token()}`;
  const answer = await fetch('/graphql', { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
  byId('token').hidden = answer.status !== 401 && !token();
  const { data, errors } = await answer.json();
  if (errors) throw new Error(errors.map((error) => error.message).join('; '));
  return data;
}

function notice(text) {
  byId('notice').hidden = !text;
  byId('notice').textContent = text ?? '';
}

// The chart -----------------------------------------------------------------------------------------

const chart = createChart(byId('chart'), {
  autoSize: true,
  layout: { background: { color: '#131722' }, textColor: '#d1d4dc' },
  grid: { vertLines: { color: '#1e222d' }, horzLines: { color: '#1e222d' } },
  timeScale: { timeVisible: true, borderColor: '#2a2e39' },
  rightPriceScale: { borderColor: '#2a2e39' },
  crosshair: { mode: 0 },
});
const prices = chart.addSeries(CandlestickSeries, {
  upColor: UP, wickUpColor: UP, downColor: DOWN, wickDownColor: DOWN, borderVisible: false,
});
const volumes = chart.addSeries(HistogramSeries, { priceScaleId: '', priceFormat: { type: 'volume' } });
volumes.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });

// Numbers are for drawing only; what is written out keeps the exact text that the API gave.
function drawn(bar) {
  const time = bar.start / 1000;
  const [open, high, low, close] = [bar.open, bar.high, bar.low, bar.close].map(Number);
  return {
    price: { time, open, high, low, close },
    volume: { time, value: Number(bar.baseVolume ?? 0), color: close >= open ? '#26a69a55' : '#ef535055' },
  };
}

const bars = new Map(); // by start

function decimals(text) {
  return text.includes('.') ? text.length - text.indexOf('.') - 1 : 0;
}

function redraw() {
  const sorted = [...bars.values()].sort((a, b) => a.start - b.start);
  const finest = Math.min(Math.max(0, ...sorted.map((bar) => decimals(bar.close))), 8);
  prices.applyOptions({ priceFormat: { type: 'price', precision: finest, minMove: 10 ** -finest } });
  const all = sorted.map(drawn);
  prices.setData(all.map((each) => each.price));
  volumes.setData(all.map((each) => each.volume));
  say(sorted.at(-1));
}

function change(bar) {
  const newest = Math.max(0, ...bars.keys());
  bars.set(bar.start, bar);
  if (bar.start < newest) return true; // a late trade: the series has to be set anew
  const { price, volume } = drawn(bar);
  prices.update(price);
  volumes.update(volume);
  say(bar);
  return false;
}

function say(bar) {
  byId('bar').textContent = bar
    ? `O ${bar.open}  H ${bar.high}  L ${bar.low}  C ${bar.close}  V ${bar.baseVolume ?? '–'}  ${bar.state}`
    : 'nothing was recorded yet';
}

// Live ----------------------------------------------------------------------------------------------

let stop = () => {};
let position = 0;

const client = createClient({
  url: new URL('/graphql', location.href).href.replace(/^http/, 'ws'),
  connectionParams: () => (token() ? { authorization: `Bearer ${token()}` } : {}),
  retryAttempts: Infinity,
  shouldRetry: () => true,
  keepAlive: 15_000,
});

async function show() {
  stop();
  const variables = { instrument: byId('instrument').value, timeframe: byId('timeframe').value };
  if (!variables.instrument) return;
  const { candles } = await ask(HISTORY, variables);
  position = candles.position;
  bars.clear();
  candles.start.forEach((start, i) => {
    const bar = { start };
    for (const name of ['open', 'high', 'low', 'close', 'baseVolume', 'state']) bar[name] = candles[name][i];
    bars.set(start, bar);
  });
  redraw();
  chart.timeScale().fitContent();
  stop = follow(variables);
}

function follow(variables) {
  // The variables are read anew at each reconnect, so that nothing is missed in between.
  const payload = { query: LIVE, get variables() { return { ...variables, after: position }; } };
  return client.subscribe(payload, {
    next: ({ data, errors }) => (errors ? notice(errors[0].message) : take(data.candles)),
    error: (error) => {
      notice(error.reason ?? error.message ?? error[0]?.message ?? 'the subscription ended');
      setTimeout(() => show().catch((failed) => notice(failed.message)), 2000);
    },
    complete: () => {},
  });
}

function take(update) {
  notice();
  position = update.position;
  byId('position').textContent = `log position ${position}`;
  if (update.discontinuity) {
    show().catch((failed) => notice(failed.message));
    return;
  }
  const changed = update.candles.map((candle) => ({ ...candle, start: Date.parse(candle.start) }));
  if (changed.map(change).some(Boolean)) redraw();
}

// Everything else ------------------------------------------------------------------------------------

async function health() {
  const shown = byId('health');
  try {
    const { status, reasons } = await (await fetch('/health')).json();
    shown.dataset.status = status;
    shown.textContent = reasons.length ? `${status}: ${reasons.join('; ')}` : status;
  } catch {
    shown.dataset.status = 'down';
    shown.textContent = 'the API does not answer';
  }
}

async function instruments() {
  const { instruments: page } = await ask('{ instruments(first: 500) { nodes { id tradeCount } } }');
  const known = new Set([...byId('instrument').options].map((option) => option.value));
  const busiest = [...page.nodes].sort((a, b) => b.tradeCount - a.tradeCount);
  for (const { id } of busiest) {
    if (!known.has(id)) byId('instrument').append(new Option(id, id));
  }
  if (!page.nodes.length) notice('Nothing is recorded yet: `alphapulse import trades FILE` or `alphapulse demo`.');
  return known.size === 0 && page.nodes.length > 0;
}

async function begin() {
  try {
    if (await instruments()) await show();
  } catch (error) {
    notice(error.message);
  }
}

for (const [name, label] of Object.entries(TIMEFRAMES)) byId('timeframe').append(new Option(label, name));
byId('instrument').addEventListener('change', showChosen);
byId('timeframe').addEventListener('change', showChosen);
byId('controls').addEventListener('submit', (event) => event.preventDefault());
byId('token').querySelector('input').addEventListener('change', (event) => {
  sessionStorage.setItem('token', event.target.value);
  client.terminate();
  begin();
});

function showChosen() {
  show().catch((error) => notice(error.message));
}

begin();
health();
setInterval(begin, 10_000);
setInterval(health, HEALTH_MS);
