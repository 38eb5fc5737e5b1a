/** Models whose inputs and outputs are dicts (`keras.Model({…}, {…})`) are those whose inputs and outputs are lists. */
import { expect, it } from 'vitest';
import { parseTopology } from '../../src/autodiff/layers-config.ts';

const tensor = (name: string) => ({
  class_name: '__keras_tensor__',
  config: { shape: [null, 2], dtype: 'float32', keras_history: [name, 0, 0] },
});
const input = (name: string) => ({
  module: 'keras.layers',
  class_name: 'InputLayer',
  config: { name, batch_shape: [null, 2] },
  name,
  inbound_nodes: [],
});
const dense = (name: string, from: unknown) => ({
  module: 'keras.layers',
  class_name: 'Dense',
  config: { name, units: 1 },
  name,
  inbound_nodes: [{ args: [from], kwargs: {} }],
});
/** As Keras 3.15 writes it in config.json and in the attribute model_config of an .h5. */
const model = (inputs: unknown, outputs: unknown) => ({
  class_name: 'Functional',
  config: {
    name: 'functional',
    layers: [input('item'), input('user'), dense('click', tensor('item')), dense('watch', tensor('user'))],
    input_layers: inputs,
    output_layers: outputs,
  },
});
const one = (name: string): [string, number, number] => [name, 0, 0];

it('a dict of tensors is the list of its values by sorted keys, nested ones too', () => {
  const listed = parseTopology(
    model([one('item'), one('user')], [one('click'), one('watch')]),
    '3.15.1',
    'model.keras',
  );
  for (const [inputs, outputs] of [
    [
      { user: one('user'), item: one('item') },
      { watch: one('watch'), click: one('click') },
    ],
    // Keys that are not the names of the layers.
    [
      { b: one('user'), a: one('item') },
      { z: one('watch'), y: one('click') },
    ],
    [{ ids: { b: one('user'), a: one('item') } }, [{ y: one('click') }, one('watch')]],
  ])
    expect(parseTopology(model(inputs, outputs), '3.15.1', 'model.keras')).toEqual(listed);
  expect((listed.config as { output_layers: unknown }).output_layers).toEqual([one('click'), one('watch')]);
});
