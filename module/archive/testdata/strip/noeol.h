int a;


/* the end, without a newline */