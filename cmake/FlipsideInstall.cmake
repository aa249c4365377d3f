include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
install(TARGETS flipside ${flipside_opencv} EXPORT flipsideTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS flipside_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY src/flipside DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "cli" EXCLUDE)
install(EXPORT flipsideTargets NAMESPACE flipside::
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/flipside)
configure_package_config_file(cmake/flipsideConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/flipsideConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/flipside)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/flipsideConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/flipsideConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/flipsideConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/flipside)
