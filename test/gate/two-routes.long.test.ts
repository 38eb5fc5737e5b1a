/** The same for more folders by chance: this project sets CLIPPY_DIAG_FUZZ. */
import './two-routes.test.ts';
