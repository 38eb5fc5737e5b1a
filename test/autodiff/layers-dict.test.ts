/** Models whose inputs and outputs are dicts (`keras.Model({…}, {…})`) are those whose inputs and outputs are lists. */
import { describe, expect, it } from 'vitest';
import { parseTopology } from '../../src/differentiate/autodiff/layers-config.ts';

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

describe('a model within, called with a dict', () => {
  const within = {
    class_name: 'Functional',
    config: {
      name: 'inner',
      layers: [input('p'), input('q')],
      input_layers: { y: one('q'), x: one('p') },
      output_layers: { out: one('q') },
    },
    name: 'inner',
  };
  /** As Keras writes what calls it and what it calls. */
  const calling = (inbound: unknown, next: unknown) => ({
    class_name: 'Functional',
    config: {
      name: 'functional',
      layers: [
        input('item'),
        input('user'),
        { ...within, inbound_nodes: [inbound] },
        { class_name: 'Dense', config: { name: 'click', units: 1 }, name: 'click', inbound_nodes: [next] },
      ],
      input_layers: { u: one('user'), i: one('item') },
      output_layers: { click: one('click') },
    },
  });
  const nodes = (document: unknown, version: string) => {
    const { layers } = parseTopology(document, version, 'model.keras').config as {
      layers: { name: string; inbound_nodes: unknown }[];
    };
    return layers.map(({ inbound_nodes }) => inbound_nodes).slice(2);
  };
  // The call by which a model was made is counted in Keras 2: the one here is its second.
  const listed = [
    [
      [
        ['user', 0, 0, {}],
        ['item', 0, 0, {}],
      ],
    ],
    [[['inner', 1, 0, {}]]],
  ];
  it('of Keras 3.15 takes its values by sorted keys; a mask of nothing is none', () => {
    const inbound = {
      args: [{ y: tensor('item'), x: tensor('user') }],
      kwargs: { mask: { x: null, y: null } },
    };
    const next = { args: [tensor('inner')], kwargs: {} };
    expect(nodes(calling(inbound, next), '3.15.1')).toEqual(listed);
    const masked = { ...inbound, kwargs: { mask: { x: null, y: tensor('item') } } };
    expect(nodes(calling(masked, next), '3.15.1')).not.toEqual(listed);
  });
  it('of Keras 2.15 and of tfjs too', () => {
    const inbound = { y: ['item', 0, 0, {}], x: ['user', 0, 0, {}] };
    const next = [['inner', 1, 0, {}]];
    expect(nodes(calling(inbound, next), '2.15.0')).toEqual(listed);
    expect(nodes({ modelTopology: calling(inbound, next) }, '2.15.0')).toEqual(listed);
  });
});

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
