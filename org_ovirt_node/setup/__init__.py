"""The program of an installer medium: a kickstart if there is one, else questions; then the same installation."""
