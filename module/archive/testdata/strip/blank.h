
 	
int a;
#define M \



int b; \
   
int c;

 
