// The protocol's server has a validator of JSON Schemas for what it may ask a client, which ours never does: 200 kB of ajv.

export const serverWithoutAjv = {
  name: 'server-without-ajv',
  setup(build) {
    build.onResolve({ filter: /\/validation\/ajv-provider\.js$/ }, () => ({
      path: 'no-validator',
      namespace: 'no-validator',
    }));
    build.onLoad({ filter: /.*/, namespace: 'no-validator' }, () => ({
      contents:
        "export class AjvJsonSchemaValidator { getValidator() { throw new Error('this server asks nothing of its client'); } }",
    }));
  },
};
