// GraphiQL on this server's own API: queries by fetch, subscriptions by graphql-transport-ws.
// Everything is bundled; the editor's workers are files of ours, so the page works without a network.

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';
import 'graphiql/style.css';
import './graphiql.css';

const WORKERS = { json: 'json.worker.js', graphql: 'graphql.worker.js' };

globalThis.MonacoEnvironment = {
  getWorker: (_id, label) =>
    new Worker(new URL(WORKERS[label] ?? 'editor.worker.js', import.meta.url), { type: 'module' }),
};

const example = (instrument) => `# AlphaPulse: candles, trades and the log behind them.
# Ctrl-Enter runs the operation under the cursor. Subscriptions work, too.

query Log {
  log {
    position
    recordedAt
    projections { name position lagEvents lagSeconds parked }
  }
  instruments { nodes { id tradeCount firstTime lastTime } }
}

query Candles {
  candles(instrument: "${instrument}", timeframe: H1, last: 24) {
    position
    start
    open
    high
    low
    close
    baseVolume
    state
    coverage
  }
}

subscription Live {
  candles(instrument: "${instrument}", timeframe: M1) {
    position
    candles { start open high low close baseVolume state closed }
  }
}
`;

const api = new URL('/graphql', location.href);
const socket = new URL(api);
socket.protocol = api.protocol === 'https:' ? 'wss:' : 'ws:';

// A token typed into the headers tab ({"Authorization": "Bearer …"}) also opens the WebSocket.
const fetcher = createGraphiQLFetcher({ url: api.href, subscriptionUrl: socket.href });

// An instrument that exists makes a better example; any name will do where none can be read.
async function busiest() {
  try {
    const query = encodeURIComponent('{ instruments(first: 500) { nodes { id tradeCount } } }');
    const { data } = await (await fetch(`${api}?query=${query}`)).json();
    return data.instruments.nodes.sort((a, b) => b.tradeCount - a.tradeCount)[0].id;
  } catch {
    return 'bitflyer:BTC_JPY';
  }
}

const given = new URLSearchParams(location.search);

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={fetcher}
    defaultQuery={example(await busiest())}
    initialQuery={given.get('query') ?? undefined}
    initialVariables={given.get('variables') ?? undefined}
    defaultEditorToolsVisibility={false}
  >
    <GraphiQL.Logo>
      <a href="/">AlphaPulse</a>
    </GraphiQL.Logo>
  </GraphiQL>,
);
