/** The same for more folders by chance: its project sets CLIPPY_DIAG_FUZZ. */
import './two-routes.test.ts';
