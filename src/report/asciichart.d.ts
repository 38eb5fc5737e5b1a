declare module 'asciichart' {
  interface PlotConfig {
    readonly min?: number;
    readonly max?: number;
    readonly height?: number;
    readonly offset?: number;
    readonly format?: (value: number, row: number) => string;
    readonly symbols?: readonly string[];
  }
  const asciichart: {
    plot(series: readonly number[] | readonly (readonly number[])[], config?: PlotConfig): string;
  };
  export = asciichart;
}
