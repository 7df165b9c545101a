// Makes dist/{{name}}.wasm.

import { mkdir, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const { component } = await componentize({
  sourcePath: 'src/processor.js',
  witPath: 'wit',
  worldName: 'processor',
  // With them it would import clocks, files and sockets, behind which there is nothing, and a
  // network interface that the host refuses.
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await mkdir('dist', { recursive: true });
await writeFile('dist/{{name}}.wasm', component);
