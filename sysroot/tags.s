# The exception tags of all libraries. LLVM 22 defines neither in position-independent code, so one library
# defines both and every other imports them.
	.tagtype	__cpp_exception i32
	.globl	__cpp_exception
__cpp_exception:
	.tagtype	__c_longjmp i32
	.globl	__c_longjmp
__c_longjmp:
