/** The same of every file of the sources. */
import './regular-expressions.test.ts';
