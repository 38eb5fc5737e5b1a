/**
 * The models of arXiv 2302.09178 (section 5.1), scaled for one core: a `ranking` spec without features and losses.
 *
 * The paper trains 2 × 512 and 4 × 4096 units on batches of 65,000; here they have 64 and 128 units. What stays is the form:
 * two layers against four, a wider one, DCN-v2 on the inputs and LayerNorm in every layer.
 */
const shared = (units: readonly number[], layerNorm = false) => ({
  shared: { type: 'shared-bottom', units, activation: 'relu', layerNorm },
});

export const MODEL_PRESETS = {
  'paper-small': shared([64, 64]),
  'paper-large': shared([128, 128, 128, 128]),
  'paper-large-dcn': {
    ...shared([128, 128, 128, 128], true),
    cross: { type: 'dcn-v2', layers: 1 },
  },
  mmoe: { shared: { type: 'mmoe', experts: 4, units: [64, 32], activation: 'relu' } },
} as const satisfies Readonly<Record<string, Readonly<Record<string, unknown>>>>;
