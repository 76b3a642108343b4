
  
/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */ /* not this */
/* before */ /* SPDX-License-Identifier: MIT */ /* after */
/*
 * Text around it.

 * SPDX-FileCopyrightText: nobody
 * More text.   
 */   
// SPDX-License-Identifier: GPL-2.0 /* stays
int a; /* SPDX */   
/* SPDX */int b;/* x */
