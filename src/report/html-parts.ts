/** The parts that an HTML report inlines: uPlot, its style, and what is in assets/. They are texts of the program. */
import uplot from 'uplot/dist/uPlot.iife.min.js?raw';
import uplotStyle from 'uplot/dist/uPlot.min.css?raw';
import uplotLicense from 'uplot/LICENSE?raw';
import style from './assets/report.css?raw';
import client from './assets/report.js?raw';

export const HTML_PARTS = {
  style: `${uplotStyle.trim()}\n${style.trim()}`,
  // Every report is a copy of uPlot, which its licence goes with.
  uplot: `/*!\n${uplotLicense.trim()}\n*/\n${uplot.trim()}`,
  client: client.trim(),
};
