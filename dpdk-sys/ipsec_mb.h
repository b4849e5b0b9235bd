/* What foreshift uses of Intel's multi-buffer crypto library. */
#include <intel-ipsec-mb.h>

#if IMB_VERSION_NUM < IMB_VERSION(1, 3, 0)
#error "Intel's multi-buffer crypto library 1.3 or later is needed"
#endif

/* Macros with casts are beyond bindgen: named again as constants. */
static const uint64_t IPSEC_MB_FEATURE_AESNI = IMB_FEATURE_AESNI;
static const uint64_t IPSEC_MB_FEATURE_PCLMULQDQ = IMB_FEATURE_PCLMULQDQ;
static const uint64_t IPSEC_MB_FEATURE_AVX2 = IMB_FEATURE_AVX2;
static const uint64_t IPSEC_MB_FEATURE_AVX512 = IMB_FEATURE_AVX512_SKX;
static const uint64_t IPSEC_MB_FEATURE_VAES = IMB_FEATURE_VAES;
static const uint64_t IPSEC_MB_FEATURE_SELF_TEST = IMB_FEATURE_SELF_TEST;
static const uint64_t IPSEC_MB_FEATURE_SELF_TEST_PASS = IMB_FEATURE_SELF_TEST_PASS;
