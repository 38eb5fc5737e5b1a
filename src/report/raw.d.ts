/** The text of a file, put into the program when it is built (build/build.js); vitest knows it too. */
declare module '*?raw' {
  const text: string;
  export default text;
}
