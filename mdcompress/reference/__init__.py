"""Writers of the pages that are generated from the program itself."""
