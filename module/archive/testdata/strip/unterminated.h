int a; /* not terminated
int b; /* neither

